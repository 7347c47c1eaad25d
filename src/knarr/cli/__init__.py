"""The command line. Imports stay inside commands, so that ``knarr --help`` answers at once."""
