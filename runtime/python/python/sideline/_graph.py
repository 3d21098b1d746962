"""Flows built in Python, without YAML."""

import json


class Graph:
    """Flow built in code. It is the same graph as that of a YAML file, and is checked in the same way.

        graph = sideline.Graph("count")
        graph.node("synthetic", "synthetic", frames=20, width=64, height=48)
        graph.node("light", "light.py", {"frames": "synthetic/frames"})
        for batch in sideline.run(graph, tables=["light"]):
            ...

    Relative paths, as of the file of an operator, refer to the working directory. Further arguments set variables of the whole flow,
    such as SIDELINE_MODE="complete".
    """

    def __init__(self, name, **variables):
        self.name = name
        self._variables = {key: _variable(value) for key, value in variables.items()}
        self._nodes = []

    def node(self, id, operator, inputs=None, **keys):
        """Adds a node that runs an operator: its name, the file of one in Python, or the library of a plugin.

        inputs: the output `NODE/OUTPUT` of each input, by the name of the input.
        keys: keys of the operator; those of the runtime, as SIDELINE_STRIDE, too.
        """
        self._nodes.append({
            "id": id,
            "path": "sideline",
            "args": f"run {operator}",
            "env": {key.upper(): _variable(value) for key, value in keys.items()},
            "inputs": dict(inputs or {}),
        })
        return self

    def to_yaml(self):
        """Returns the flow as the text of a dataflow file: JSON, which is YAML. Each node lists the outputs that others read."""
        outputs = {}
        for node in self._nodes:
            for source in node["inputs"].values():
                sender, _, output = source.partition("/")
                if output not in outputs.setdefault(sender, []):
                    outputs[sender].append(output)
        nodes = [node | {"outputs": outputs.get(node["id"], [])} for node in self._nodes]
        return json.dumps({"env": self._variables, "nodes": nodes}, indent=2) + "\n"


def _variable(value):
    # A variable is a number, a truth value or a text; a list is written as JSON. `$`, by which a file refers to the environment,
    # stands for itself.
    text = json.dumps(value) if isinstance(value, (list, tuple, dict)) else value
    return text.replace("$", "$$") if isinstance(text, str) else text
