"""The `rerankd` command. Importing it takes nothing that the bare client lacks."""

import sys


def main() -> None:
    """Run the command line; in one sentence say what to install where the server is not."""
    try:
        from rerankd_server.cli import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(
            f"rerankd: only the client is installed ({error.name} is missing); "
            "for this command: pip install 'rerankd[server,offline]'"
        )
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
