"""The workshop's end of what devices report: takes their batches, keeps them durably, and shows how the devices are."""
