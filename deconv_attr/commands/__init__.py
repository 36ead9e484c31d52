"""The subcommands of ``deconv-attr``: each room adds its arguments to the parser, and runs."""
