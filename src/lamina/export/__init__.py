"""Export: a run as a graph that answers without Lamina, proved to answer alike, in a folder with its own runner."""
