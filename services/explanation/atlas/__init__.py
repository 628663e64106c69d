"""Atlas-Alignment: labels carried from model to model by linear maps on shared inputs, with trust figures."""
