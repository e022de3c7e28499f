"""The command `ultragcn`, also as `python -m ultragcn`: `ultragcn.cli`, where the libraries that it needs can be loaded."""

import sys

from ultragcn.errors import UsageError
from ultragcn.machine import refuse_few_addresses


def main() -> int:
    """Run the command line of this process and return its exit status."""
    try:
        refuse_few_addresses()
    except UsageError as error:
        if sys.stderr is not None:
            print(f"ultragcn: {error}", file=sys.stderr)
        return error.exit_status
    from ultragcn import cli  # loads NumPy, and with it BLAS

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
