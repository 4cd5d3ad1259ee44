"""What a study found: a summary for programs, and a page for readers who have never seen the project."""

from distill_sim.report.page import write_report
from distill_sim.report.summarise import summary

__all__ = ["summary", "write_report"]
