"""The meeting point: takes questions, passes them to the nodes, adds up what they answer."""
