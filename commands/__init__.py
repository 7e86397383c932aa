"""The commands by what they are about; tasks.py puts them together for invoke."""
