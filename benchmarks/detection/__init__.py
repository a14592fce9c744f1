"""How detectors of loss events are scored: rules of peers, made-up runs of known truth, tables."""
