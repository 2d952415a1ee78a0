"""The command line of reports."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tabnas.errors import UserError
from tabnas.report import source, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the reports; exit code 2 if one of them could not be made."""
    parser = argparse.ArgumentParser(
        prog="python -m tabnas.report",
        description="Make DIR/report.html from the results in DIR: one page that needs no network and no other file. "
        "Of a folder of runs, such as a sweep's, the page compares them, and each of them gets its own page too.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="folder of a run, or of runs' folders")
    code = 0
    for folder in parser.parse_args(arguments).folders:
        is_of_several = folder.is_dir() and not source.is_run(folder)
        finished = [job.folder for job in source.jobs(folder) if job.result is not None] if is_of_several else []
        for each in (*finished, folder):  # its jobs' first: a sweep's page has links to those there are
            try:
                path = write(each)
            except UserError as error:
                print(f"tabnas: error: {error}", file=sys.stderr)
                code = 2
            else:
                if each == folder:
                    print(f"tabnas: report in {os.path.relpath(path)}")
    return code


if __name__ == "__main__":
    sys.exit(main())
