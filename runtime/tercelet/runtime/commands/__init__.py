"""Verbs of the command line that need the runtime alone: run, inspect, doctor, benchmark."""
