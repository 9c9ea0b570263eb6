"""What runs on a device: fetching a bundle, proving it, answering with it. Numpy, an engine, the standard library."""
