"""What `tercelet doctor` checks, a file a subject. A check runs the thing instead of looking for a file."""
