"""``python -m lift_core.cli`` is ``lift``."""

from lift_core.cli import main

if __name__ == "__main__":
    main()
