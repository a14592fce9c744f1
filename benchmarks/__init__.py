"""Scripts that measure what no test can, by what they study; README.md says what each answers."""
