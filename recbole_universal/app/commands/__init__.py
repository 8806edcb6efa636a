"""The commands, one file each: options, their help, and what runs them. Nothing here takes time to import."""
