"""``python -m foveal``."""

from foveal.cli import main

# Worker processes that are spawned import this module anew.
if __name__ == "__main__":
    main()
