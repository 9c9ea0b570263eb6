"""One container image per platform: assembled without a container engine, or built with one; the tree is the same.

- ``release_images``: which images a release has, built, proven and pushed together; the way in. ``release_record``: what the
  registry of models knows of them. ``sweep``: images that no release names any more.
- ``platform``, ``image_spec``: what is built for what. ``base``: what an image stands on; ``base_files``: its
  files, layer over layer; ``base_python``, ``python_metadata``: the Python in it. ``wheel_lock``, ``lock_renewal``,
  ``wheels``: which distributions it takes, by their hashes. ``bytecode``, ``litert_stand_in``: what is added to them.
- ``builder``: layers written here. ``engine_builder``: built by a container engine and compared. ``engine_client``,
  ``engine_leftovers``: that engine, and what killed runs left in it. ``ownership``: which process made a thing.
- ``layer``, ``descriptor``, ``oci_layout``, ``layout_writer``: the image format, on the disk.
- ``proof``: an image is started under its limits and must answer. ``confinement`` says what runs it: ``container_run``, or
  ``chroot_run`` with ``unpacking``, ``chroot_start``, ``control_group`` and ``chroot_leftovers``; ``image_answers``: what it
  answered; ``emulation``: foreign processors.
- ``image_registry``, ``registry_repository``, ``registry_session``, ``registry_account``, ``registry_address``,
  ``registry_answer``: to and from a registry of images.
- ``sbom``, ``os_packages``: what is in an image. ``provenance``: where it comes from.
- ``edge_compose``: what a device's engine starts it by.
"""
