"""Makes Seamline's virtual environment; standard library only, for nothing else is there yet."""
