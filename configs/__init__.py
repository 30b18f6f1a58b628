"""Settings: frozen and validated, with the presets that ship with the project."""
