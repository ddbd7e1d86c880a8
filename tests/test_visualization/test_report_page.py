import re

import pytest
from report_files import SCRIPT_CLASS, Page, audit, write_run, write_study

from dsym.errors import InputError
from dsym.evaluation.study_records import Spread
from dsym.visualization.report import Pictures, run_report, study_report
from dsym.visualization.report.charts import Bar, Line, bar_chart, line_chart
from dsym.visualization.report.image_sections import painted_images
from dsym.visualization.report.inputs import (
    RunFiles,
    read_results,
    read_run,
    read_synthetic,
)
from dsym.visualization.report.pseudo_section import (
    audit_body,
    keep_rates,
    pseudo_section,
    stage_lines,
)
from dsym.visualization.report.study_sections import ablation_bars
from dsym.visualization.report.svg import inline_svg


@pytest.fixture
def run(tmp_path):
    return read_run(write_run(tmp_path / 'run'))


@pytest.fixture
def study(tmp_path):
    return read_results(write_study(tmp_path / 'study'))


@pytest.fixture
def run_page(run):
    return run_report(run, Pictures())


def test_run_report__sections_and_their_links(run_page):
    page = Page(run_page)
    assert page.headings == [
        'run',
        'Summary',
        'Precision and recall',
        'Each class',
        'Confusion of classes',
        'Training',
        'Pseudo-labels',
        'Best and worst detections',
        'Not in this report',
    ]
    assert page.links[0] == '#content'
    assert len(page.links) == len(page.headings)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_run_report__loads_nothing(run_page):
    page = Page(run_page)
    assert "default-src 'none'" in run_page
    assert 'http://' not in run_page
    assert 'https://' not in run_page
    assert all(x.startswith(('#', 'data:')) for x in page.addresses)
    assert not {'link', 'iframe', 'object', 'embed'} & set(page.tags)
    urls = re.findall(r'url\(([^)]*)\)', run_page)
    assert all(url.startswith('#') for url in urls)


def test_run_report__text_of_files_is_escaped(run_page):
    assert '<script>alert' not in run_page
    assert '&lt;script&gt;alert(1)&lt;/script&gt;' in run_page
    assert Page(run_page).tags.count('script') == 1


def test_run_report__figures_of_the_run(run_page):
    # a is found, the other class is missed and has a false box
    assert 'finds 1 of 2 defects (50 %)' in run_page
    assert 'draws 2 boxes, of which 1 (50 %) are false' in run_page
    rows = Page(run_page).cells
    assert ['a', '1', '0', '0'] in rows
    assert [SCRIPT_CLASS, '0', '0', '1'] in rows
    assert ['no defect (false box)', '0', '1'] in rows
    # a log need not have the last step
    assert '<dt>last logged step</dt><dd>20</dd>' in run_page
    # the mean step takes 3 s, and there were 20
    assert '<dt>minutes of training steps</dt><dd>1.0</dd>' in run_page
    # 4 of 8 boxes are left
    assert ['selected', '4', '50.0', '50.0', '50.0'] in rows


def test_run_report__every_picture_is_described(run_page):
    alts = Page(run_page).alts
    assert all(alts)
    assert f'1; truth: {SCRIPT_CLASS} (missed)' in alts
    assert '0; detected: a 0.80' in alts


def test_run_report__says_what_is_missing(tmp_path):
    folder = write_run(tmp_path / 'run')
    (folder / 'test.gt.json').unlink()
    page = run_report(read_run(folder), Pictures())
    headings = Page(page).headings
    assert 'Each class' in headings
    assert 'Confusion of classes' not in headings
    missing = page[page.index('id="missing"') :]
    assert 'Confusion of classes' in missing
    assert 'test_evaluator.save_predictions=True' in missing


def test_run_report__moved_images_are_no_error(run, tmp_path):
    for image in tmp_path.glob('run/*.png'):
        image.rename(tmp_path / image.name)
    assert '--img-root' in run_report(run, Pictures())
    page = run_report(run, Pictures(img_root=tmp_path))
    assert 'Best and worst detections' in Page(page).headings


def test_run_report__one_evaluation_during_training_is_a_table(run):
    once, one_figure = 'The only evaluation during', 'Evaluation during'
    page = run_report(run, Pictures())
    assert once in page and one_figure not in page
    assert re.search(r'defect/mAP_50.{,40}>0\.5<', page)
    run.scalars.append({'defect/mAP_50': 0.75, 'step': 2})
    page = run_report(run, Pictures())
    assert once not in page
    assert 'Evaluation during training; defect/mAP_50 from 0.5 to 0.75' in page


def test_read_run__unknown_evaluation_is_named(tmp_path):
    folder = write_run(tmp_path / 'run')
    with pytest.raises(InputError, match=r'dev.*\(test\)'):
        read_run(folder, 'dev')


def test_read_run__damaged_files_are_named(tmp_path):
    folder = write_run(tmp_path / 'run')
    (folder / 'pseudo_labels.json').write_text('[{"epoch": "x"}]')
    with pytest.raises(InputError, match=r'pseudo_labels\.json is no list'):
        read_run(folder)


def test_ablation_bars__equal_the_records(study):
    bars = ablation_bars(study, 'mAP_50')
    assert [(x.run, x.series, x.spread.seeds) for x in bars] == [
        ('x', 'test', 2),
        ('y', 'test', 1),
    ]
    axes = bar_chart(bars, 'mAP').axes[0]
    widths = [patch.get_width() for patch in axes.patches]
    assert widths == pytest.approx([60, 40])
    # the sample's deviation of 50 and 70; one seed has no whisker
    (whisker,) = axes.containers[1].lines[2]
    assert whisker.get_segments()[0][:, 0] == pytest.approx(
        [60 - 200**0.5, 60 + 200**0.5]
    )
    texts = [text.get_text() for text in axes.texts]
    assert texts == ['x', '60.0 ± 14.1', 'y', '40.0']


def test_study_report__tables_and_words(study):
    text = study_report(study, None, Pictures())
    page = Page(text)
    # 20 points apart, seeds of x by 14.1
    assert 'x is highest with 60.0 ± 14.1 % mAP at IoU 0.5; next' in text
    assert 'y, 40.0 %.' in text
    assert 'without an error bar: y.' in text
    row = ['x', 'test', '2', '10', '60.0 ± 14.1', *['50.0 ± 0.0'] * 4]
    assert row in page.cells
    assert ['a', '60.0 ± 14.1', '40.0'] in page.cells
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert '--run WORK_DIR' in text


def test_study_report__has_classes_of_all_runs_and_no_score_of_minus_1(study):
    """As of a class or a whole set without truth."""
    x, other, y = (x['metrics']['test'] for x in study.records)
    y['b_AP'], y['b_AP50'] = y.pop('a_AP'), y.pop('a_AP50')
    x['mAP_50'] = -1
    page = Page(study_report(study, None, Pictures()))
    assert ['a', '60.0 ± 14.1', '-'] in page.cells
    assert ['b', '-', '40.0'] in page.cells
    bars = ablation_bars(study, 'mAP_50')
    assert [(x.spread.mean, x.spread.seeds) for x in bars] == [
        (0.7, 1), (0.4, 1),
    ]  # fmt: skip
    other['mAP_50'] = y['mAP_50'] = -1
    page = Page(study_report(study, None, Pictures()))
    assert ['y', 'test', '1', '10', '-', *['50.0'] * 4] in page.cells


def test_study_report__counts_seeds_of_a_run_not_of_its_name(study):
    """Of x there are two runs, of a seed each."""
    for record, epochs in zip(study.records, (20, 60)):
        record['options'] = {'max_epochs': epochs}
    text = study_report(study, None, Pictures())
    names = 'x (max_epochs=20), x (max_epochs=60), y'
    assert f'without an error bar: {names}.' in text


def test_study_report__says_what_seeds_do_not_tell_apart(study):
    study.records[2]['metrics']['test']['mAP_50'] = 0.47
    text = study_report(study, None, Pictures())
    assert 'y, 47.0 %, no further away than seeds of one run are.' in text


def test_study_report__of_a_run_that_counts_steps(study):
    """No epochs: neither 'None' nor its lines of a log among the others'."""
    steps = dict(study.records[2], epochs=None, losses=[1.0] * 99)
    study.records[2] = steps
    text = study_report(study, None, Pictures())
    rows = {(x[0], x[1]): x[4] for x in Page(text).cells if len(x) == 8}
    assert (rows['x', '0'], rows['y', '0']) == ('2', '')
    assert 'x seed 1: 3 to 2' in text and 'y seed 0: 1 to 1' not in text
    assert 'counts steps and no epochs: y.' in text
    study.records = [steps]
    assert 'hold no losses of epochs' in study_report(study, None, Pictures())


def test_study_report__of_a_training_that_diverged(study):
    """JSON has no number for its loss."""
    study.records[2] = dict(study.records[2], losses=[3.0, None])
    text = study_report(study, None, Pictures())
    assert 'y seed 0: 3 to not finite' in text


def test_study_report__with_a_run(study, run):
    page = Page(study_report(study, run, Pictures()))
    assert 'One run: run' in page.headings
    assert 'Best and worst detections' in page.headings
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize(
    'first, opened', [('y', 'y'), (None, 'x'), ('no audit', 'x')]
)
def test_pseudo_section__the_run_shown_is_open(first, opened):
    audits = dict(x=audit(['a']), y=audit(['a']))
    body = pseudo_section(audits, first).body
    found = re.findall(
        r'<details open[^>]*><summary[^>]*>(.*?)</summary', body
    )
    assert len(found) == 1 and opened in found[0]


def test_painted_images__those_where_a_painted_defect_stayed():
    boxes = [
        dict(image_id=i, synthetic=x)
        for i, x in ((0, False), (1, True), (1, False), (3, True), (3, True))
    ]
    coco = dict(images=[dict(id=i) for i in range(4)], annotations=boxes)
    assert painted_images(coco) == [dict(id=1), dict(id=3)]


def test_stage_lines__keep_rate():
    stages = dict(predicted=dict(boxes=8), selected=dict(boxes=2))
    entry = dict(epoch=3, stages=stages)
    assert keep_rates(entry) == dict(predicted=1, selected=0.25)
    lines = stage_lines([entry], 'kept')
    assert [(x.name, x.x, x.y) for x in lines] == [
        ('predicted', [3], [1]),
        ('selected', [3], [0.25]),
    ]


def test_audit__parts_have_rows_and_classes_are_those_of_all_labels():
    entries = audit(['a'])
    stages = entries[0]['stages']
    part = dict(boxes=1, true_positives=1, precision=1.0, recall=0.25)
    stages['certain'] = dict(part, boxes_per_image=0.5, classes=dict(a=part))
    body = audit_body(entries, 'x')
    # of 8 boxes that were predicted
    assert ['certain', '1', '12.5', '100.0', '25.0'] in Page(body).cells
    assert 'Each class after the last stage, selected, in epoch 1' in body
    assert ['a', '4', '50.0', '50.0', '50.0'] in Page(body).cells


def test_audit__epoch_without_boxes():
    entries = audit(['a'])
    for stage in entries[0]['stages'].values():
        stage.update(boxes=0, true_positives=0, precision=None)
    body = audit_body(entries, 'x')
    kept = 'Share of the predicted boxes at each stage; in the last epoch'
    assert f'{kept}: no boxes.' in body and 'nan' not in body


def test_inline_svg__ids_differ_and_text_stays():
    style = dict(color='black')
    figure = line_chart([Line('a', [0, 1], [0, 1], style)], 'x$y$', 'z')
    first, second = (inline_svg(figure, key, '"<>\\s') for key in 'ab')
    assert not set(Page(first).ids) & set(Page(second).ids)
    assert '>x$y$</text>' in first
    assert 'aria-label="&quot;&lt;&gt;\\s"' in first
    assert 'var(--ink)' in first
    for forbidden in ('<style', '<metadata', '<!--', 'xmlns', '#000000'):
        assert forbidden not in first


def test_read_synthetic__wrong_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r'annotations_\*\.json'):
        read_synthetic(tmp_path)


def test_run_report__of_a_metric_of_the_toolbox(tmp_path):
    """Its figures have other names; they are drawn all the same."""
    run = RunFiles(
        tmp_path,
        scalars=[
            dict(loss=2.0, lr=0.1, epoch=1, step=10, time=1.0),
            {'coco/bbox_mAP': 0.2, 'coco/bbox_mAP_50': 0.5, 'step': 1},
            {'coco/bbox_mAP': 0.25, 'coco/bbox_mAP_50': 0.5, 'step': 2},
        ],
    )
    page = run_report(run, Pictures())
    assert 'coco/bbox_mAP from 0.2 to 0.25' in page
    assert 'No evaluation by DefectMetric' in page


def test_bar_chart__of_names_that_are_longer_than_the_panel():
    """They are broken, and take no room from the bars."""
    widths = []
    for name in ('other', 'long, ' * 30):
        bars = [Bar(run, 'test', Spread(0.5, 0, 1)) for run in ('short', name)]
        figure = bar_chart(bars, 'mAP, %')
        figure.canvas.draw()
        (axes,) = figure.axes
        widths.append(axes.get_window_extent().width)
    assert widths[0] == pytest.approx(widths[1], abs=1)
    names = [x for x in axes.texts if 'long' in x.get_text()]
    assert names[0].get_window_extent().x1 < figure.bbox.x1
    tops = [x.get_window_extent().y1 for x in names]
    bottoms = [x.get_window_extent().y0 for x in axes.patches]
    assert tops[0] < bottoms[0]  # below the first run's bar
