"""Searches from the command line: a run folder, and the commands that write and read it.

From a script of your own, :class:`oneshot_plugins.run.recorder.RunRecorder` writes one, too.
"""
