"""Statistics on sums that several analyses share."""
