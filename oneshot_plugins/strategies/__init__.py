"""Search strategies: who decides, and what happens with each batch."""
