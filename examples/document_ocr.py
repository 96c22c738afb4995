"""Read a document: upload a PDF, let Mistral's OCR read it, and delete it again.

uv run examples/document_ocr.py
uv run examples/document_ocr.py invoice.pdf

OCR takes the file by its id, and every call goes through the gateway. A signed URL, which
`client.files.get_signed_url(file_id=...)` returns, points to Mistral's own storage: whoever has it
downloads the file from there, past the gateway and without a key.

Set CLOUDFLARE_ACCOUNT_ID, CF_AIG_TOKEN and MISTRAL_API_KEY to use your own gateway; without an
account it starts a local one, whose OCR reads nothing but the file's name.
"""

# /// script
# requires-python = ">=3.11"
# dependencies = ["mistral-cf-adapter[testing]"]
# tool.uv.sources.mistral-cf-adapter = { path = "..", editable = true }
# ///

import sys
from pathlib import Path

from mistral_cf_adapter import capture, gateway_options, make_client


def read(client, name, content):
    """Return what OCR reads in a document; the uploaded file is deleted whatever happens."""
    uploaded = client.files.upload(file={"file_name": name, "content": content}, purpose="ocr")
    print(f"Uploaded {uploaded.filename}, {uploaded.size_bytes} bytes")
    try:
        document = {"type": "file", "file_id": uploaded.id}
        return client.ocr.process(model="mistral-ocr-latest", document=document)
    finally:
        deleted = client.files.delete(file_id=uploaded.id)
        print(f"Deleted: {deleted.deleted}")


def tiny_pdf(text):
    """Write a PDF of one page with one line on it."""
    page = "/MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >>"
    drawing = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R {page} >>",
        f"<< /Length {len(drawing)} >>\nstream\n{drawing}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    pdf, table = "%PDF-1.4\n", "0000000000 65535 f \n"
    for number, body in enumerate(objects, start=1):
        table += f"{len(pdf):010} 00000 n \n"
        pdf += f"{number} 0 obj\n{body}\nendobj\n"
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(pdf)}\n%%EOF\n"
    return f"{pdf}xref\n0 {size}\n{table}{end}".encode("ascii")


def main():
    name, content = "invoice.pdf", tiny_pdf("Invoice 17: 42.00 EUR")
    if sys.argv[1:]:
        path = Path(sys.argv[1])
        name, content = path.name, path.read_bytes()

    # The gateway then logs the calls, and neither the document nor what is read in it.
    with capture() as calls, gateway_options(collect_log_payload=False):
        answer = read(make_client(), name, content)
    for page in answer.pages:
        print(f"Page {page.index}\n{page.markdown}")
    print(f"{answer.usage_info.pages_processed} page(s)")
    for call in calls:
        print(f"  {call.method:6} {call.path}  {call.status_code}  log {call.log_id}")


if __name__ == "__main__":
    from _gateway import gateway

    with gateway():
        main()
