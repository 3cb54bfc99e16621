"""What the project is made with; no part of the packages."""
