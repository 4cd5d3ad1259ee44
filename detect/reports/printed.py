"""A report as PDF, made from its page by WeasyPrint. Nothing outside the page is loaded."""

from __future__ import annotations

from typing import Any

from watermark.errors import InputError

NEEDED = (
    "a PDF takes WeasyPrint and the library pango: pip install 'taggant[report]', and on Debian apt-get install "
    "libpango-1.0-0 libpangoft2-1.0-0; or leave --pdf out and print the page from a browser"
)


def require_printer() -> None:
    """Raise InputError unless PDFs can be made here."""
    _weasyprint()


def pdf_of(page: bytes, bundle: str) -> bytes:
    """The page as PDF.

    Args:
        bundle: SHA-256, of which the document's identifier is made: the same page gives the same bytes.

    Raises:
        InputError: WeasyPrint or pango is missing.
    """
    weasyprint = _weasyprint()
    only_inline = weasyprint.urls.URLFetcher(allowed_protocols=["data"], allow_redirects=False, fail_on_errors=True)
    document = weasyprint.HTML(string=page.decode("utf-8"), url_fetcher=only_inline)
    made = document.write_pdf(pdf_identifier=bundle[:32].encode("ascii"))
    assert isinstance(made, bytes)
    return made


def _weasyprint() -> Any:
    try:
        import weasyprint
    except (ImportError, OSError):  # OSError: pango cannot be loaded
        pass
    else:
        return weasyprint
    raise InputError(NEEDED)
