"""The lecture's claims, and what finished sweeps tell besides."""
