"""The command line: `python train.py --help`."""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from tabnas.cli import errors_in_one_line, errors_of_one_job

CONF = Path(__file__).parent / "conf"


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    from tabnas.run import run  # torch and Lightning take seconds to import: not for --help or a mistyped key

    with errors_of_one_job(CONF):
        run(cfg)


if __name__ == "__main__":
    with errors_in_one_line(CONF):
        main()
