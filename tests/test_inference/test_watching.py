"""A watched folder: once each, when it is whole, also after a restart."""

import os
import signal

import pytest
from tiny_detector import write_pictures

from dsym.errors import InputError
from dsym.inference.watching import Journal, StopRequest, WatchedFolder

ABOUT = dict(checkpoint='x.pth')


class Looks:
    """Asked to stop after some looks, with something to do after each."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.done = False

    def __call__(self):
        return self.done

    def after(self):
        if self.steps:
            self.steps.pop(0)()
        else:
            self.done = True


def names_of(folder, out, *steps):
    """Watch; give the names of each look."""
    journal = Journal(out / 'journal.jsonl', ABOUT)
    looks = Looks(*steps)
    found, batch = [], []
    for frame in WatchedFolder(folder, 0.001, out, journal, looks):
        if frame is not None:
            batch.append(frame)
            continue
        if batch:
            journal.add(batch, {})
        found.append([x.name for x in batch])
        batch = []
        looks.after()
    journal.close()
    return found


def nothing():
    pass


def test_late_file__once(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'in/out'
    write_pictures(folder, ['a.png'])
    found = names_of(
        folder,
        out,
        nothing,
        lambda: write_pictures(folder, ['sub/b.png']),
        nothing,
        lambda: write_pictures(out, ['drawn/a.png']),
        nothing,
    )
    # seen, stable; the late one seen, stable; results are no input
    assert found == [[], ['a.png'], [], ['sub/b.png'], [], []]


def test_growing_file__waits_until_it_is_stable(tmp_path):
    folder = write_pictures(tmp_path / 'in', ['a.png'])
    whole = (folder / 'a.png').read_bytes()
    (folder / 'a.png').write_bytes(b'')
    parts = [whole[:40], whole[:90], whole]
    found = names_of(
        folder,
        tmp_path / 'out',
        *[lambda x=x: (folder / 'a.png').write_bytes(x) for x in parts],
        nothing,
    )
    assert found == [[], [], [], [], ['a.png']]


def test_restart__goes_on(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    write_pictures(folder, ['a.png'])
    assert names_of(folder, out, nothing)[-1] == ['a.png']
    write_pictures(folder, ['b.png'])
    assert names_of(folder, out, nothing) == [[], ['b.png']]
    # a new image under an old name
    os.utime(folder / 'a.png', (1, 1))
    assert names_of(folder, out, nothing) == [[], ['a.png']]


def test_read_too_early__is_not_counted_once_it_is_whole(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    write_pictures(folder, ['a.png', 'b.png'])
    whole = (folder / 'a.png').read_bytes()

    def unreadable():
        journal = Journal(out / 'journal.jsonl', ABOUT)
        journal.close()
        return journal.unreadable

    for name in ('a.png', 'b.png'):
        (folder / name).write_bytes(whole[: len(whole) // 2])
    assert names_of(folder, out, nothing)[-1] == ['a.png', 'b.png']
    assert unreadable() == {'a.png', 'b.png'}
    (folder / 'a.png').write_bytes(whole)
    assert names_of(folder, out, nothing)[-1] == ['a.png']
    assert unreadable() == {'b.png'}


def test_half_a_line__is_forgotten(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    write_pictures(folder, ['a.png'])
    names_of(folder, out, nothing)
    lines = (out / 'journal.jsonl').read_bytes()
    (out / 'journal.jsonl').write_bytes(lines[:-1])
    assert names_of(folder, out, nothing)[-1] == ['a.png']


def test_journal_of_another_model__is_refused(tmp_path):
    Journal(tmp_path / 'j', ABOUT).close()
    with pytest.raises(InputError, match=r'checkpoint=x.pth, not y.pth'):
        Journal(tmp_path / 'j', dict(checkpoint='y.pth'))


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal__asks_to_stop(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert signal.getsignal(number) == before


@pytest.mark.parametrize('seconds', [0, -1, float('nan'), float('inf')])
def test_seconds__that_are_no_pause(tmp_path, seconds):
    """With none it would look all the time; with inf, never again."""
    journal = Journal(tmp_path / 'journal.jsonl', ABOUT)
    with pytest.raises(InputError, match=f'--watch {seconds}: give seconds'):
        WatchedFolder(tmp_path, seconds, tmp_path, journal, lambda: True)
    journal.close()


def test_two_at_once__the_second_is_refused(tmp_path):
    first = Journal(tmp_path / 'j', ABOUT)
    with pytest.raises(InputError, match='j is in use'):
        Journal(tmp_path / 'j', ABOUT)
    first.close()
    Journal(tmp_path / 'j', ABOUT).close()
