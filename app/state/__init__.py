"""A page's state: URL to dataclass and back."""
