"""Signed releases, the workshop's side: keys, metadata of The Update Framework, and their publication.

Devices obey signed metadata alone. MLflow's aliases say what people intend, and its artifact store carries what was
signed without being trusted: nothing in it is ever a base for a signature.

- ``roles``: names of roles and keys, where private halves are kept, how long signatures last.
- ``passphrases``, ``keyring``: private keys, encrypted files.
- ``own_copy``: the authoritative copy of the metadata, in the shared store; ``generation``: it, read and verified.
- ``draft``: the next generation. ``repository``: reading, drafting and committing under one lease.
- ``attestation``: the workshop's own word about a bundle, by which it signs. ``vouching``: a person's word for one that was
  judged elsewhere. ``deciding``: what was promoted, withdrawn and waived, kept beside it.
- ``publisher``: what a champion needs to be obeyed. ``mirror``: what was signed, in the registry's artifact store;
  ``bundles``: what it names there.
- ``ceremony``: making, exchanging and revoking keys. ``expiry``: renewals and alarms.
- ``healing``: what a kill, or a hand in the registry's pages, left behind. ``enrolment``: a device's first trust.
"""
