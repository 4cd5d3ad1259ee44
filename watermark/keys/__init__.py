"""Keys: derivation, parameters, files, tokenizer identity, and commitments. Never imports torch or transformers."""

from watermark.keys.commitment import UNTIMESTAMPED_NOTE, Commitment, verify_opening
from watermark.keys.derive import decoy_key, derive, lp, scheme_key
from watermark.keys.key import Key
from watermark.keys.opening import Leaf, Opening
from watermark.keys.parameters import SCHEME, DerivedFrom, Parameters, gamma_units, key_id
from watermark.keys.profiles import CHEAPEST, DEFAULT_PROFILE, PROFILES, Profile
from watermark.keys.tokenizers import TokenizerIdentity

__all__ = [
    "CHEAPEST",
    "DEFAULT_PROFILE",
    "PROFILES",
    "SCHEME",
    "UNTIMESTAMPED_NOTE",
    "Commitment",
    "DerivedFrom",
    "Key",
    "Leaf",
    "Opening",
    "Parameters",
    "Profile",
    "TokenizerIdentity",
    "decoy_key",
    "derive",
    "gamma_units",
    "key_id",
    "lp",
    "scheme_key",
    "verify_opening",
]
