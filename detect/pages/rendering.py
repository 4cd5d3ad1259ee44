"""From a template to a whole page on disk; what every page shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from watermark.errors import InputError
from watermark.files import new_file


def write_page(
    path: str | Path,
    template: str,
    values: Mapping[str, Any],
    *,
    packages: Sequence[str] = (),
    filters: Mapping[str, Callable[..., Any]] | None = None,
    overwrite: bool = False,
) -> None:
    """Render `template` with everything escaped, and write it as UTF-8.

    Args:
        packages: where templates are looked for, before this package's own.
        filters: more of them, for the template.
        overwrite: replace what is at `path`.

    Raises:
        InputError: something is at `path` (without `overwrite`), or it cannot be written.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in (*packages, "detect.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    page = environment.get_template(template).render(values)
    try:
        with new_file(path, overwrite=overwrite) as handle:
            handle.write(page.encode("utf-8"))
    except OSError as error:
        reason = error.strerror or error
    else:
        return
    raise InputError(f"{path} cannot be written ({reason}); free space or choose another place")
