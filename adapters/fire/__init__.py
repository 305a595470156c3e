"""The fire and rescue service's adapter: premises risk from its risk system."""
