"""The commands, one file each, with options and help. The files import slow libraries only when a command runs."""
