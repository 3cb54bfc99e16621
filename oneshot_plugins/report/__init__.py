"""``oneshot report``: one page that says what a search did, what it found and why to believe it."""
