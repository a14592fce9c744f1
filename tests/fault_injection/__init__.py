"""Faults injected into every public function and method that watching may call, found by introspection."""
