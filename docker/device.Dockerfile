# An image of a device as an engine builds it, for one platform (`edgewright images MODEL --build` makes the context and calls this).
# Nothing of the target runs: files are copied, so any machine builds for any platform. What is copied, and the image's
# configuration, are those of the builder without an engine; what comes out is compared with them, and has the same digests.
ARG BASE
FROM ${BASE}
COPY wheels/ /
COPY application/ /
COPY --chown=65532:65532 state/ /var/lib/
COPY bundle/ /
