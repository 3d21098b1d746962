"""Reads what `sideline export --format statsbomb | wyscout` wrote with kloppy, and prints what it understood as JSON.

    python tests/read_match.py statsbomb EVENTS LINEUPS
    python tests/read_match.py wyscout FILE
"""

import json
import sys

from kloppy import statsbomb, wyscout


def told(event):
    ends = getattr(event, "receiver_coordinates", None) or getattr(event, "end_coordinates", None)
    receiver = getattr(event, "receiver_player", None)
    return {
        "id": event.event_id,
        "kind": event.event_type.name,
        "team": event.team.name,
        "player": event.player and event.player.player_id,
        "seconds": event.timestamp.total_seconds(),
        "result": event.result and event.result.name,
        "place": event.coordinates and [event.coordinates.x, event.coordinates.y],
        "end": ends and [ends.x, ends.y],
        "receiver": receiver and receiver.player_id,
        "set_piece": [q.value.name for q in event.qualifiers or [] if type(q).__name__ == "SetPieceQualifier"],
    }


if sys.argv[1] == "statsbomb":
    match = statsbomb.load(event_data=sys.argv[2], lineup_data=sys.argv[3], coordinates="statsbomb")
else:
    match = wyscout.load(event_data=sys.argv[2], coordinates="wyscout")

teams = [
    {
        "name": team.name,
        "ground": team.ground.name,
        "formation": team.starting_formation and team.starting_formation.value,
        "players": {p.player_id: p.starting_position and p.starting_position.name for p in team.players},
    }
    for team in match.metadata.teams
]
print(json.dumps({"teams": teams, "events": [told(event) for event in match.events]}))
