"""just docs: write the generated parts of the documents."""

from analysis.report.readme import rebuild


def docs() -> int:
    """Write the tables of the documents, and README's pictures, from docs/results/."""
    rebuild()
    return 0
