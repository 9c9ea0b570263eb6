"""Reports: the figures of a build, and one page that shows them with everything that was decided.

Values in, bytes out. Nothing here measures, reads the store or knows the clock: equal values give equal bytes.
"""
