"""The report itself: one page with a table."""

from __future__ import annotations

from io import BytesIO

from django.utils.html import escape
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from testproject.reports.models import Sale
from testproject.reports.months import Month

INK = colors.HexColor("#1d3557")
LINE = colors.HexColor("#c9d3df")
GRID = TableStyle(
    [
        ("FONTNAME", (0, 0), (-1, 0), "Helvetica-Bold"),
        ("FONTNAME", (0, -1), (-1, -1), "Helvetica-Bold"),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("LINEBELOW", (0, 0), (-1, -2), 0.5, LINE),
        ("LINEABOVE", (0, -1), (-1, -1), 1, INK),
    ]
)


def render_report(month: Month, email: str) -> bytes:
    """Return the month's sales as a PDF file."""
    styles = getSampleStyleSheet()
    target = BytesIO()
    title = f"Sales report {month.name}"
    document = SimpleDocTemplate(target, pagesize=A4, title=title, author="Sales reports")
    document.build(
        [
            Paragraph(title, styles["Title"]),
            Paragraph(f"Prepared for {escape(email)}", styles["Normal"]),
            Spacer(1, 8 * mm),
            Table(sales_table(month), colWidths=[80 * mm, 30 * mm, 40 * mm], style=GRID),
        ]
    )
    return target.getvalue()


def sales_table(month: Month) -> list[list[str]]:
    """Return the lines of the report: a heading, a line per product, the total."""
    sales = Sale.objects.in_month(month).by_product()
    return [
        ["Product", "Units", "Amount"],
        *([line.product, str(line.units), euros(line.amount)] for line in sales),
        ["Total", "", euros(sum(line.amount for line in sales))],
    ]


def euros(cents: int) -> str:
    return f"EUR {cents / 100:,.2f}"
