"""The stages of a build: artifacts in, artifacts out, remembered by digest, heavy work in a process of its own."""
