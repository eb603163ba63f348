"""The embedded demo: a made-up dataset in the layout of PAWS-X, and text to train its small translator on."""
