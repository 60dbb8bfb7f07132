"""The pieces a network is made of; each works alone, with plain constructor arguments."""
