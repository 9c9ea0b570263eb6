"""Engines: what runs a bundle's model on a device, one file per engine behind one protocol."""
