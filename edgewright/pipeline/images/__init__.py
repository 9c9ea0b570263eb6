"""One container image per platform: assembled without a container engine, or built with one; the tree is the same."""
