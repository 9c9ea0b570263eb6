"""The workshop's end of what devices report: takes their batches, keeps them durably, and shows how the devices are.

- ``receiver``: the HTTP server that acknowledges what is durable. ``item``: one item of a batch, read strictly.
- ``inbox``: what was received, each item once, and samples that wait for labels.
- ``fleet``: how the devices are, by what they reported last.
"""
