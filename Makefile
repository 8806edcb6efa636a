# Every table of docs/, by the command that makes it. DATA is a folder of RecBole atomic files, OUT is the folder of
# results. A run that is started again skips the results that are there. docs/benchmarks.md says what each target takes.
DATA ?= dataset/
OUT ?= results
PYTHON ?= python
SETS ?= yahoo-music-mgcnn frappe filmtrust ml-100k amazon-instruments msweb book-crossing ml-latest-small \
	flixster-mgcnn amazon-digital-music lastfm-2k douban-mgcnn tenrec-article citations-a kuairand amazon-hin yelp-hin \
	delicious-tags coco-mooc citeulike-a allrecipes ml-1m douban-movie tafeng amazon-toys amazon-video-games pinterest \
	yelp-s3rec amazon-sports epinions amazon-book-kgat yelp2018
CHECKOUTS ?= .
TRAINED ?= ml-100k filmtrust amazon-instruments lastfm-2k citations-a yelp-hin
# Fewer than 250,000 interactions, of which the 5-core filter takes more than a hundredth.
UNFILTERED ?= yahoo-music-mgcnn frappe filmtrust msweb flixster-mgcnn lastfm-2k citations-a book-crossing \
	ml-latest-small amazon-digital-music yelp-hin coco-mooc citeulike-a delicious-tags
# In an order in which each target has what it needs.
TABLES = lodo in-domain ablation penalty correction next-item unseen robustness weights frozen unfiltered published seeds trained samples \
	zero-shot wide-grids interpolation node2vec features columns speed
ZERO_SHOT = $(PYTHON) benchmarks/zero_shot.py --data-path $(DATA) --output $(OUT) --models $(OUT)/models.json

.PHONY: help tables data models mutations reading service everyday site $(TABLES)

help:
	@echo "make DATA=FOLDER OUT=FOLDER TARGET, with one of the targets" data $(TABLES) models mutations reading service everyday tables site
	@echo "What each makes, needs and takes: docs/benchmarks.md"

tables: $(TABLES:%=%.timed)  # some 12 hours of one core

data:  # compares your datasets with those of the tables
	$(PYTHON) benchmarks/data.py --data-path $(DATA)

in-domain:
	$(PYTHON) benchmarks/in_domain.py --data-path $(DATA) --datasets ml-100k --seeds 5 --output $(OUT)/in_domain.jsonl
	$(PYTHON) benchmarks/in_domain.py --data-path $(DATA) --datasets filmtrust amazon-instruments lastfm-2k --seeds 3 \
		--output $(OUT)/in_domain.jsonl
	$(PYTHON) benchmarks/in_domain.py --output $(OUT)/in_domain.jsonl --report docs/in_domain.md

node2vec:
	$(PYTHON) benchmarks/node2vec.py --data-path $(DATA) --dataset ml-1m --report docs/node2vec.md

features:
	$(PYTHON) benchmarks/features.py --data-path $(DATA) --dataset yelp2018 --file yelp2018.train.inter

columns:  # of FM and DeepFM
	$(PYTHON) benchmarks/columns.py --data-path $(DATA) --output $(OUT)/columns.jsonl
	$(PYTHON) benchmarks/columns.py --output $(OUT)/columns.jsonl --report docs/columns.md

models:  # RecBole's own models on the installed stack; prints, and --report writes a table of docs/recbole_models.md
	$(PYTHON) benchmarks/recbole_models.py

lodo: $(OUT)/models.json

$(OUT)/models.json:  # models for datasets of domains that they have not seen
	$(PYTHON) benchmarks/pretrain.py --data-path $(DATA) --output $(OUT) --leave-out \
		--models universal-base universal-paper

zero-shot: frozen seeds unfiltered published trained samples
	$(PYTHON) benchmarks/zero_shot.py --output $(OUT) --report docs/zero_shot.md

wide-grids:  # of the baselines in docs/zero_shot.csv
	$(PYTHON) benchmarks/wide_grids.py --data-path $(DATA) --output $(OUT)/wide_grids.jsonl
	$(PYTHON) benchmarks/wide_grids.py --output $(OUT)/wide_grids.jsonl --report docs/wide_grids.md

frozen: lodo
	$(ZERO_SHOT) --datasets $(SETS) --max-users 2000 --rows baselines zero-shot "zero-shot, universal-paper" \
		"zero-shot, fast"

seeds: lodo  # another split of all datasets but those on which EASE takes longest
	$(ZERO_SHOT) --datasets $(filter-out epinions amazon-book-kgat yelp2018, $(SETS)) --seed 2021 --max-users 2000 \
		--rows baselines zero-shot

unfiltered: lodo  # without the 5-core filter
	$(ZERO_SHOT) --datasets $(UNFILTERED) --unfiltered --max-users 2000 --rows baselines zero-shot

published: lodo
	$(ZERO_SHOT) --datasets yelp2018 ml-1m amazon-book-kgat --published --max-users 4000 --rows baselines zero-shot
	$(ZERO_SHOT) --datasets yelp2018 --published --rows GF-CF zero-shot

trained: lodo
	$(ZERO_SHOT) --datasets $(TRAINED) --max-users 2000 --rows BPR NGCF LightGCN MultiVAE in-domain fine-tuned
	$(ZERO_SHOT) --datasets tenrec-article --max-users 2000 --rows in-domain fine-tuned
	$(ZERO_SHOT) --datasets ml-100k filmtrust amazon-instruments --max-users 2000 --rows NeuMF
	$(ZERO_SHOT) --datasets amazon-instruments --in-time-order --max-users 2000 --rows baselines zero-shot SASRec
	for seed in 2021 2022; do $(ZERO_SHOT) --datasets amazon-instruments filmtrust --seed $$seed --max-users 2000 \
		--rows baselines BPR NGCF LightGCN MultiVAE in-domain fine-tuned zero-shot || exit 1; done

samples: lodo  # RecBole's models on samples of users of larger datasets
	$(ZERO_SHOT) --datasets amazon-sports --max-users 2000 --rates 0.005 --rows LightGCN NGCF
	for sample in ml-1m:2000 epinions:6000 douban-movie:3000; do \
		$(ZERO_SHOT) --datasets $${sample%:*} --sample $${sample#*:} --max-users 2000 --rates 0.005 \
			--rows baselines BPR LightGCN NGCF MultiVAE zero-shot || exit 1; done

unseen: lodo
	$(PYTHON) benchmarks/unseen.py --data-path $(DATA) --datasets ml-100k lastfm-2k citations-a \
		--models $(OUT)/models.json --output $(OUT)/unseen.jsonl
	$(PYTHON) benchmarks/unseen.py --output $(OUT)/unseen.jsonl --report docs/unseen.md

interpolation: trained samples  # of the bases that those two store
	$(PYTHON) benchmarks/interpolation.py --data-path $(DATA) --models $(OUT)/models.json --output $(OUT)
	$(PYTHON) benchmarks/interpolation.py --output $(OUT) --report docs/interpolation_results.md

ablation: lodo  # on the candidate lists that "lodo" stores
	$(PYTHON) benchmarks/ablation.py --data-path $(DATA) --lists $(OUT)/lists --output $(OUT)/ablation.jsonl
	$(PYTHON) benchmarks/ablation.py --output $(OUT)/ablation.jsonl --report docs/ablation.md

ORDERED = ml-latest-small ml-100k ml-1m-seq amazon-instruments amazon-digital-music amazon-office amazon-grocery \
	amazon-hin amazon-toys amazon-tools amazon-video-games amazon-sports library-sibgmu mathoverflow-tags foursquare-tky \
	yoochoose retailrocket nasa-web fifa98-web delicious-tags coco-mooc tafeng complete-journey kkbox-music yelp-s3rec \
	nowplaying wikipedia-edits-repeats mathoverflow-tags-repeats foursquare-tky-repeats
CLOCKS = ml-latest-small ml-100k amazon-digital-music amazon-instruments library-sibgmu amazon-grocery amazon-hin coco-mooc \
	complete-journey
NEXT_ITEM = $(PYTHON) benchmarks/next_item.py --data-path $(DATA) --output $(OUT) --models $(OUT)/models-ordered.json

next-item:  # of histories in order
	$(PYTHON) benchmarks/pretrain.py --data-path $(DATA) --output $(OUT)/ordered --models universal-sequential --leave-out
	cp $(OUT)/ordered/models.json $(OUT)/models-ordered.json
	$(NEXT_ITEM) --datasets $(ORDERED)
	$(NEXT_ITEM) --in-time --datasets $(CLOCKS) --rows baselines frozen
	$(NEXT_ITEM) --shuffled --rows frozen \
		--datasets ml-100k amazon-instruments ml-latest-small library-sibgmu amazon-digital-music amazon-office
	$(NEXT_ITEM) --max-users 0 --rows sequential --datasets amazon-toys amazon-sports ml-1m-seq yelp-s3rec
	$(NEXT_ITEM) --rows fine-tuned --rates 0.001 --datasets amazon-instruments amazon-digital-music library-sibgmu \
		ml-latest-small mathoverflow-tags ml-100k
	$(NEXT_ITEM) --rows SASRec GRU4Rec "SASRec + sequential" --datasets amazon-instruments amazon-digital-music \
		library-sibgmu amazon-office mathoverflow-tags amazon-grocery ml-100k ml-latest-small amazon-tools amazon-toys \
		amazon-hin coco-mooc foursquare-tky  # minutes on a GPU, hours without
	$(PYTHON) benchmarks/next_item_speed.py --part epoch --data-path $(DATA) --output $(OUT)/next_item_speed.jsonl
	$(PYTHON) benchmarks/next_item_speed.py --part growth --output $(OUT)/next_item_speed.jsonl
	$(PYTHON) benchmarks/next_item.py --output $(OUT) --report docs/next_item.md
	$(PYTHON) benchmarks/next_item_speed.py --output $(OUT)/next_item_speed.jsonl --report docs/next_item.md

correction: lodo  # of a network's scores by the self-check
	$(PYTHON) benchmarks/correction.py --data-path $(DATA) --datasets $(SETS) --max-users 2000 \
		--models $(OUT)/models.json --output $(OUT)/correction.jsonl
	$(PYTHON) benchmarks/correction.py --output $(OUT)/correction.jsonl --report docs/ablation.md

penalty:  # of the regression
	$(PYTHON) benchmarks/penalty.py --data-path $(DATA) --output $(OUT)/penalty.jsonl
	$(PYTHON) benchmarks/penalty.py --output $(OUT)/penalty.jsonl --report docs/ablation.md

robustness: lodo
	$(PYTHON) benchmarks/robustness.py --data-path $(DATA) --models $(OUT)/models.json --output $(OUT)/robustness.jsonl
	$(PYTHON) benchmarks/robustness.py --output $(OUT)/robustness.jsonl --report docs/robustness.md

weights:
	$(PYTHON) benchmarks/event_weights.py --data-path $(DATA) --output $(OUT)/event_weights.csv
	$(PYTHON) benchmarks/event_weights.py --output $(OUT)/event_weights.csv --report docs/weights.md

speed:
	$(PYTHON) benchmarks/speed.py --part yelp2018 --data-path $(DATA) --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part implicit --data-path $(DATA) --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part update --data-path $(DATA) --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part sample --data-path $(DATA) --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part growth --sizes 1 4 16 64 --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part growth --sizes 100 --sample 10000 --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --part whole --output $(OUT)/speed.jsonl
	$(PYTHON) benchmarks/speed.py --output $(OUT)/speed.jsonl --report docs/scale_results.md

reading:  # prints; CHECKOUTS are folders of the repository, such as this one and one of an earlier commit
	$(PYTHON) benchmarks/reading.py --rows 10000000 --folder $(OUT)/reading $(CHECKOUTS:%=--checkout %)

everyday:  # prints seconds and memory of fit, save and load
	$(PYTHON) benchmarks/everyday.py --data-path $(DATA) --output $(OUT)/everyday.jsonl

service:  # prints the service under load beside implicit
	$(PYTHON) benchmarks/service.py --dataset yelp2018 --data-path $(DATA) --output $(OUT)/service.jsonl
	$(PYTHON) benchmarks/service.py --dataset ml-100k --data-path $(DATA) --output $(OUT)/service.jsonl

mutations:  # prints one wrong line at a time and the test that notices it
	$(PYTHON) benchmarks/mutations.py --unmutated

site:
	$(PYTHON) -m mkdocs build

%.timed:  # any target; adds its seconds to docs/times.csv
	@start=$$(date +%s); $(MAKE) $* && \
		echo "$*,$$(( $$(date +%s) - start )),$$(nproc),$$(date -I)" >> docs/times.csv
