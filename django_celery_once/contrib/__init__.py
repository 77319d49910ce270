"""What is for projects that have more installed; each module imports what it is for."""
