"""What a run needs: more data or something else; and what is wrong with the data that it has."""
